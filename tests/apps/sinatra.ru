# A real Sinatra application: sessions, uploads, streaming, files, errors.
require 'digest'
require 'sinatra/base'
require_relative 'gate'

# The application.
class Shop < Sinatra::Base
  set :environment, :production
  set :sessions, true
  set :session_secret, 'a secret of sixty-four letters that nobody has to keep from anybody!'
  set :protection, except: :http_origin
  set :show_exceptions, false

  get('/') { 'shop' }
  get('/count') { (session[:count] = session[:count].to_i + 1).to_s }
  get('/hello/:name') { "hello #{params[:name]}" }
  get('/stream') { stream { |out| 3.times { |number| out << "part #{number}\n" } } }
  get('/file') { send_file __FILE__, type: 'text/plain' }
  get('/redirect') { redirect '/' }
  get('/halt') { halt 418, 'short and stout' }
  get('/raise') { raise 'in sinatra' }

  get '/live' do
    stream do |out|
      out << 'first'
      Gate.pass('live')
      out << 'second'
    end
  end

  post '/upload' do
    content = params[:file][:tempfile].read
    "#{params[:file][:filename]} #{content.bytesize} #{Digest::SHA256.hexdigest(content)} #{params[:note]}"
  end

  error(500) { 'sorry' }
end

run Shop
